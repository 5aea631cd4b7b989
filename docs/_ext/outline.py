"""The order of the pages. A page that is not listed here fails the build and a test."""

GUIDES = {
    "Data and training": ("own_data", "training", "masks", "time_and_memory"),
    "Precision, devices, export": ("precision", "devices", "accelerators", "export", "out_of_jax"),
    "Models and physics": (
        *("signatures", "message_passing", "large_graphs", "attention"),
        *("jets", "forces", "dipole", "symmetrization"),
    ),
    "Pretrained models, weights, unknown groups": ("pretrained", "weights", "merging", "auditing", "unknown_groups"),
    "Extend": ("write_a_group", "write_a_frame", "write_a_layer"),
    "From other libraries": ("other_frameworks", "from_e3nn", "from_emlp"),
    "Tools": ("pictures", "command_line"),
}

CONCEPTS = {"": ("diagrams", "plans", "signs", "frames", "limits")}

FOLDERS = {"guides": GUIDES, "concepts": CONCEPTS}

BENCHMARKS = {
    "benchmarks/index": ("/benchmarks/speed/*", "/benchmarks/accuracy/*", "/benchmarks/tasks/*"),
    "papers": ("/benchmarks/papers/*/NOTES",),
}
