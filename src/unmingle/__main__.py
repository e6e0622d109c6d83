"""`python -m unmingle`, for where the script is not on the path."""

import sys

from unmingle.cli import main

sys.exit(main())
