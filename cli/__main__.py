"""`python -m cli`: the same as the console command."""

from cli.main import app

if __name__ == "__main__":
    app(prog_name="readalong")
