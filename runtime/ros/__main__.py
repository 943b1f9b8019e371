"""`python -m fastscnn.runtime.ros`."""

import sys

from .command import main

sys.exit(main())
