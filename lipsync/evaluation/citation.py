"""How to cite what a report was made with: as CITATION.cff says it, for BibTeX."""

_BIBTEX = """@article{suwajanakorn2017obama,
  author  = {Suwajanakorn, Supasorn and Seitz, Steven M. and Kemelmacher-Shlizerman, Ira},
  title   = {Synthesizing {Obama}: Learning Lip Sync from Audio},
  journal = {ACM Transactions on Graphics},
  volume  = {36},
  number  = {4},
  year    = {2017},
  doi     = {10.1145/3072959.3073640}
}
@software{lipsync,
  author  = {{The lipsync authors}},
  title   = {lipsync: a person in a video says a new recording},
  version = {VERSION},
  license = {Apache-2.0}
}"""


def citation(version: str) -> str:
    """BibTeX of the paper that lipsync builds on, and of this version of lipsync."""
    return _BIBTEX.replace("VERSION", version)
