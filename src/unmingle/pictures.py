def plot_curves(a,b): pass
