"""From what annotation tools write to a data set of this project's layout. `fastscnn-data init` is its command."""
