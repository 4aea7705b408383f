"""``python -m recfuse_lib`` is the command ``recfuse``."""

import sys

from recfuse_lib.command import main

sys.exit(main())
