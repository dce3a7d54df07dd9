"""``python -m pretrained_cnn`` is ``pretrained-cnn``."""

import sys

from pretrained_cnn.cli import main

sys.exit(main())
