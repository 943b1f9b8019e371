"""Any network that ends in low-resolution logits, a bilinear Resize and an arg-max: cut, wrapped, proven, described.

What may live here: finding the end of a foreign graph, making its shapes and its input ours, and the proof that it is the
same network. What a graph may hold at all is `runtime`'s to say.
"""

from .adopter import Adopted, adopt

__all__ = ["Adopted", "adopt"]
