"""Folders of SavedModels: found, read and judged before anything in them runs."""
