"""python -m lipsync"""

from lipsync.cli import main

if __name__ == "__main__":
    main()
