"""FLOPs, bytes and expected times of plans, and the choice between the plan and the dense matrix."""
