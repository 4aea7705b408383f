"""`python -m recfuse_lib.pretrained NAME…`: fetch what is missing, verify it, and say where it is."""

from recfuse_lib.pretrained import main

raise SystemExit(main())
