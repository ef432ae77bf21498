"""Draw how near each goal is."""

from collections.abc import Sequence

from benchmarks.figures import Figure


def draw(path: str, figures: Sequence[Figure]) -> None:
    """Write a plot: a bar for each figure with a goal, 1 where the goal is just reached."""
    import matplotlib as mpl  # noqa: PLC0415 - not for everyone.

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    shown = [(figure, reached) for figure in figures if (reached := _reached(figure)) is not None]
    shown.reverse()
    size, axes = plt.subplots(figsize=(11, 1.5 + 0.28 * len(shown)))
    axes.barh(
        [f"{figure.group}: {figure.name}" for figure, _ in shown],
        [reached for _, reached in shown],
        color=["tab:green" if figure.met else "tab:orange" for figure, _ in shown],
    )
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_xlabel("of the goal: 1 is reached, more is better")
    axes.tick_params(axis="y", labelsize=7)
    size.tight_layout()
    size.savefig(path)
    plt.close(size)


def _reached(figure: Figure) -> float | None:
    # A goal of nothing at all has no share that could be drawn.
    if not figure.goal or not figure.value:
        return None
    return figure.value / figure.goal if figure.at_least else figure.goal / figure.value
