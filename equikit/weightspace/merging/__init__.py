"""Uses of aligned networks: means, lines, transferred training runs."""
