from hypothesis import settings

# A loaded machine is slow, which is no defect of what is tested.
settings.register_profile("without a deadline", deadline=None)
settings.load_profile("without a deadline")
