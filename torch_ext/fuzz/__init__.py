"""Random architectures, hand against autograd: what differs is localised, judged, shrunk, diagnosed, kept."""
