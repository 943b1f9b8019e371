"""Pictures and label files as they lie on users' disks: read in one way by checks, training, evaluation and conversion."""
