"""export: (placeholder)"""
