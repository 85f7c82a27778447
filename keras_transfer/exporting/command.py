"""`keras-transfer export`."""
from .._table import Table
from .instructions import instructions
from .writing import export


def command(options):
    """Exports a run folder, and says how far each file is from the model and how to serve it."""
    found = export(options.run, options.to, formats=options.formats, top_k=options.top_k, calibration=options.calibration,
                   on_error=options.on_error)
    print(f"Written: {found.path}\n")
    # the share of rows with the same answer, which int8 has as well, is a figure of another kind
    print(Table([{"what": name, "largest difference": value} for name, value in found.items() if "/" not in name]))
    shares = [{"what": name, "same first answer": value} for name, value in found.items() if "/" in name]
    if shares:
        print(f"\n{Table(shares)}")
    if "saved_model" in options.formats:
        print(f"\n{instructions(found)}")
