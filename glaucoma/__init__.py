"""The science of ARC: from an archive of retinal photographs to a compared, explained and recorded model.

Nothing here knows Prefect: every function takes plain typed values, so it runs on any machine and in any notebook.
"""
