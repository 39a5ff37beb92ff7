"""`python -m lab.get URL` prints what a web server answers: a client that every machine with the laboratory has."""

import sys
import urllib.error
import urllib.request

_SECONDS = 5.0  # without a byte


def main(url: str) -> int:
    """0 when it answered, else 1 and why not on standard error."""
    try:
        with urllib.request.urlopen(url, timeout=_SECONDS) as reply:
            while piece := reply.read(65536):
                sys.stdout.buffer.write(piece)
    except (urllib.error.URLError, OSError) as failure:
        print(f"{url}: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
