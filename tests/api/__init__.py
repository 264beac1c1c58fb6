"""Tests of the HTTP face: on real Redis servers, real uvicorn servers and real sockets."""
