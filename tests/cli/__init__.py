"""The console command: against a scripted API, with processes that do little, and as a whole."""
