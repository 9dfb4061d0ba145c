"""runtime: numerics that know nothing of LiDAR, and the policies (errors, JIT, threads) that all parts share."""

from .. import __name__ as _package  # noqa: F401  a bare `import runtime` from a checkout must fail
