"""`python -m readalong.cli`: the same as the console command."""

from readalong.cli.start import main

if __name__ == "__main__":
    main()
