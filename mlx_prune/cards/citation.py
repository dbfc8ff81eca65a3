"""What to cite for the method of evaluation."""

CITATION = """@inproceedings{rath2026weight,
  title         = {Weight Pruning Amplifies Bias: A Multi-Method Study of Compressed {LLMs} for Edge {AI}},
  author        = {Rath, Plawan Kumar and Maliakkal, Rahul},
  booktitle     = {Proc. IEEE AIIoT 2026},
  year          = {2026},
  eprint        = {2605.08137},
  archivePrefix = {arXiv}
}"""
