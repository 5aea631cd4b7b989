"""The commands. JAX takes most of a second to import: only commands that run or plan a layer import it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from equikit import __version__
from equikit._checks import choice, count_text
from equikit._errors import EquikitError, OptionError, UnboundLabelError
from equikit._progress import progress
from equikit.cli._drawing import drawing, format_of, pictures, refuse_drawing
from equikit.cli._read import (
    batch_for,
    needed_sizes,
    parse_channels,
    parse_groups,
    parse_index,
    parse_sizes,
    parse_space,
    parse_targets,
    refuse_for_code,
    refuse_for_targets,
    refuse_linear_options,
)
from equikit.cli._values import (
    diagram_count,
    number,
    numbered,
    plan_value,
    print_json,
    request_value,
    space_value,
    stages_value,
    write,
)
from equikit.diagrams import Diagram, HomSpace, hom
from equikit.plans import TARGETS

LARGEST_SEED = 2**32 - 1
"""Keys of JAX do not distinguish larger seeds."""

BINDING = re.compile(r'\bbind (?:groups=\{")?(\w+)(?:=|": )ek\.(\w+(?:\([^)]*\))?)\}?')
"""A step that binds a label in Python; the command line has quotes for it, which shells need."""


class _Commands(TyperGroup):
    """Commands that report errors of equikit as a message with exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EquikitError as error:
            step = BINDING.sub(r"write --group '\1=\2'", error.step or "") or None
            if isinstance(error, UnboundLabelError):
                step = f"add --group {error.label}=S"
            typer.echo(f"equikit: {error.text(step)}", err=True)
            raise typer.Exit(2) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # plain help texts: signatures and groups are full of brackets
    context_settings={"help_option_names": ["-h", "--help"]},
)

Signature = Annotated[
    str, typer.Argument(help='Axis labels of input and output, as in "p p -> p"; "()" where there are no axes.')
]
Groups = Annotated[
    list[str] | None,
    typer.Option(
        "--group",
        "-g",
        metavar="LABEL=GROUP",
        help="What acts on a label: p=S (any size), p=S(5), x=O(3), m=Lorentz; f=Fixed(3) for a plain axis.",
    ),
]
Imports = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="Import a module that defines more groups for --group."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]
Limit = Annotated[int, typer.Option("--limit", min=0, help="Show at most so many diagrams.")]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"equikit {__version__}")
        raise typer.Exit


@app.callback()
def _equikit(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Equivariant neural-network layers, from the diagrams that span all linear maps commuting with a group.

    Example: equikit basis "p p -> p p" -g "p=S(5)"
    """


@app.command()
def basis(
    signature: Signature,
    group: Groups = None,
    imports: Imports = None,
    matrices: Annotated[bool, typer.Option("--matrices", help="Add the integer matrix of each diagram.")] = False,
    n: Annotated[str | None, typer.Option("--n", help="Size of free labels for --matrices: 4, or a=4,b=3.")] = None,
    limit: Limit = 60,
    as_json: Json = False,
) -> None:
    """List the diagrams that span the linear maps commuting with the groups, and their number.

    With plain axes a diagram stands for one map for each pair of their entries; its matrix omits the plain axes.

    Example: equikit basis "p p -> p" -g "p=S(3)" --matrices
    """
    from equikit.draw import sections, space_text

    space = parse_space(signature, parse_groups(group or (), imports or ()), "list(space.diagrams)")
    sizes = needed_sizes(n, space, "matrices") if matrices or n is not None else {}
    if n is not None and not matrices:
        raise OptionError(
            "--n is the size of the matrices",
            got=f"--n {n} without --matrices",
            expected="--n with --matrices",
            step="leave --n out, or add --matrices; for the dimension at a size, write it as in --group 'p=S(4)'",
        )

    def rows(diagram: Diagram) -> list[list[int]]:
        result: list[list[int]] = diagram.matrix({label: sizes[label] for label in diagram.labels}).tolist()
        return result

    parts = sections(space, limit)
    if as_json:
        pairs = [
            {
                "input": str(part.source),
                "output": str(part.target),
                "maps per diagram": number(part.space.multiplicity),
                "count": number(part.count),
                "diagrams": [
                    {"text": str(diagram), "wires": diagram.num_wires} | ({"matrix": rows(diagram)} if matrices else {})
                    for diagram in part.shown
                ],
            }
            for part in parts
        ]
        print_json({**space_value(space), "sizes": sizes or None, "pairs": pairs})
        return
    typer.echo(space_text(space, limit))
    for diagram in (diagram for part in parts for diagram in part.shown if matrices):
        typer.echo(f"\n{diagram}")
        for row in rows(diagram):
            typer.echo("  " + " ".join(map(str, row)))


@app.command()
def plan(
    signature: Signature,
    group: Groups = None,
    imports: Imports = None,
    channels: Annotated[str, typer.Option("--channels", "-c", help="In, out: 16,32. Several terms: 16+8,32.")] = "1,1",
    batch: Annotated[
        int | None,
        typer.Option("--batch", min=0, help="Entries of all batch axes together: 1, or one for each of --devices."),
    ] = None,
    n: Annotated[str | None, typer.Option("--n", help="Size of free labels: 8, or a=8,b=4; else formulas.")] = None,
    normalize: Annotated[str, typer.Option("--normalize", help="Sums over input axes: sum or mean.")] = "sum",
    bias: Annotated[bool, typer.Option("--bias", help="Add the invariant vectors of the output.")] = False,
    passes: Annotated[bool, typer.Option("--passes", help="Show what each pass of the optimizer saves.")] = False,
    code: Annotated[bool, typer.Option("--code", help="Show the program in NumPy's notation.")] = False,
    target: Annotated[
        str | None,
        typer.Option("--target", help=f"Compile for devices that need not be there: {', '.join(TARGETS)}."),
    ] = None,
    gradient: Annotated[bool, typer.Option("--gradient", help="With --target: the value and gradient.")] = False,
    devices: Annotated[
        int, typer.Option("--devices", min=1, help="With --target: spread the batch over so many devices.")
    ] = 1,
    as_json: Json = False,
) -> None:
    """Show the steps that compute a layer, with their shapes, FLOPs and bytes.

    A signature with commas, sym or alt is one of multilinear maps, which have neither --bias nor --passes.

    With --target, XLA compiles the layer in float32, or complex64 for U, and the table has a row for each device:
    kernels, bytes moved ("× io" is over the bytes of inputs and outputs), temporary arrays, and the least time by the
    device's datasheet.

    Example: equikit plan "p p -> p p" -g p=S --channels 16,32 --batch 32 --n 8 --normalize mean --bias

    Example: equikit plan "p p -> p p" -g p=S --channels 32,32 --batch 32 --n 64 --target h100,v5e
    """
    refuse_for_targets(target, passes=passes, code=code, gradient=gradient, devices=devices > 1)
    if code:
        refuse_for_code(passes=passes, n=n is not None and not as_json, batch=batch is not None and not as_json)
    if target is not None and "jax" not in sys.modules:  # JAX reads both when it is imported
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
        os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(devices))
    from equikit.plans import stages, stages_table

    samples = batch_for(batch, devices)
    space = hom(signature, groups=parse_groups(group or (), imports or ()))
    refuse_linear_options(space, bias=bias, passes=passes)
    sizes = parse_sizes(n, space)
    acted = None if sizes is None else {label: sizes[label] for label in space.signature.groups}
    options: Any = {"normalize": choice("--normalize", normalize, ("sum", "mean")), **({"bias": True} if bias else {})}
    if passes:
        assert isinstance(space, HomSpace), "passes were refused for others"
        found = stages(space, parse_channels(channels), **options)
        if as_json:
            print_json({**space_value(space), **stages_value(found, samples, acted)})
        else:
            typer.echo(stages_table(found, batch=samples, n=acted))
        return
    pair: Any = parse_channels(channels)  # the plan checks how many numbers there are
    result = space.plan(pair, **options)
    if target is not None:
        from equikit.plans import compiled_table, plan_compiled_cost

        known, names = needed_sizes(n, space, "compiled programs"), parse_targets(target)
        costs = []
        with progress("compile", len(names)) as advance:
            for name in names:
                chosen: Any = {"target": name, "batch": samples, "gradient": gradient, "devices": devices}
                costs.append(plan_compiled_cost(result, known, **chosen))
                advance(name)
        if as_json:
            request = {**space_value(space), **request_value(result, samples, acted)}
            print_json({**request, "targets": [cost.as_dict() for cost in costs]})
        else:
            typer.echo(compiled_table(costs))
        return
    if as_json:
        program = {"code": result.code()} if code else {}
        print_json({**space_value(space), **plan_value(result, samples, acted), **program})
    else:
        typer.echo(result.code() if code else result.table(batch=samples, n=acted))


@app.command()
def draw(
    signature: Signature,
    group: Groups = None,
    imports: Imports = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="FILE.svg, FILE.tex, FILE.html or FILE.txt, in a folder that exists.",
        ),
    ] = None,
    index: Annotated[
        str | None, typer.Option("--index", "-i", help="Draw these diagrams only, 2 or 0,1,6; see basis.")
    ] = None,
    limit: Limit = 60,
    kind: Annotated[
        str | None,
        typer.Option("--format", "-f", help="svg, tikz, html or text; by default as FILE ends, else text."),
    ] = None,
    scale: Annotated[
        float | None, typer.Option("--scale", help="Size of SVG (default 1.5) and TikZ (default 1) pictures.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Draw diagrams: as text, one of them in SVG, some in TikZ, or all next to their matrices in HTML or TikZ.

    The pictures are dedicated to the public domain, CC0 1.0: use them on slides and in papers as you like. TikZ needs
    \\usepackage{tikz} in the preamble.

    Example: equikit draw "p p -> p p" -g "p=S(3)" --output diagrams.html
    """
    from equikit.draw import diagram_text, plural

    code = "ek.draw.diagram_svg(space.diagrams[0])"
    space = parse_space(signature, parse_groups(group or (), imports or ()), code)
    total, kind = diagram_count(space), format_of(output, kind)
    wanted = (0,) if kind == "svg" and total == 1 and index is None else parse_index(index)
    chosen = list(numbered(space, wanted, limit))
    refuse_drawing(kind, wanted, total, scale)
    text = drawing(kind, space, chosen, wanted is None, limit, scale)
    if output is not None:
        write(output, text)
    if as_json:
        drawings = [
            {"index": i, "text": str(diagram), "drawing": diagram_text(diagram), **pictures(diagram, scale)}
            for i, diagram in chosen
        ]
        print_json(
            {
                **space_value(space),
                "count": number(total),
                "output": None if output is None else str(output),
                "diagrams": drawings,
            }
        )
    elif output is not None:
        typer.echo(f"wrote {output}: {len(chosen)} of {plural(total, 'diagram')}")
    else:
        typer.echo(text, nl=bool(text))
        if kind == "text" and wanted is None and total > len(chosen):
            typer.echo(f"and {count_text(total - len(chosen))} more")
        elif kind == "text" and not total:
            typer.echo("no diagrams: zero is the only map that commutes")


@app.command()
def demo(
    seed: Annotated[
        int, typer.Option("--seed", min=0, max=LARGEST_SEED, help="Of split, parameters, order and relabelings.")
    ] = 0,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Passes over the training graphs.")] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the plot and the numbers; made if needed.")
    ] = Path("results/demo"),
    as_json: Json = False,
) -> None:
    """Train a graph network on the 1,253 graphs of the graph atlas and compare it with a plain one.

    It takes one to two minutes on a CPU, and writes the numbers, and with Matplotlib a plot, to a folder.

    Example: equikit demo --seed 1 --epochs 50 --output results/demo
    """
    from rich.console import Console

    from equikit.demo import EPOCHS, demo as run

    # With --json the tables are not printed, and progress goes to standard error.
    console = Console(stderr=True, quiet=not Console(stderr=True).is_terminal) if as_json else Console()
    report = run(seed=seed, epochs=EPOCHS if epochs is None else epochs, output=output, console=console)
    if as_json:
        print_json(report.as_dict())


def main() -> None:
    """Run the command line, the entry point of `equikit`; any other error is a traceback with exit code 2."""
    try:
        app(prog_name="equikit")
    except Exception:
        sys.excepthook(*sys.exc_info())
        sys.exit(2)  # 1 says that a function is not equivariant
