"""What at least two learnt methods share: training, data on its way to the device, model folders."""
