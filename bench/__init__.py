"""Measures the platform against what people would use instead. `make bench`; docs/performance.md.

No figure stands alone: everything is measured in turns with a base beside it, and what counts is
the ratio. It needs Linux, for the processor time of a server is read from /proc.
"""
