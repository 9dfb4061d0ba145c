"""simulate: (placeholder)"""
