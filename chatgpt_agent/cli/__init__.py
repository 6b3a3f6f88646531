"""The command line: click commands over the use cases in `admin`, which REST calls, too."""
