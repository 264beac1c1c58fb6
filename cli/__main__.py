"""`python -m cli`: the same as the console command."""

from cli.start import main

if __name__ == "__main__":
    main()
