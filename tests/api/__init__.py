"""Tests of the HTTP API: on real Redis servers, real uvicorn servers and real sockets."""
