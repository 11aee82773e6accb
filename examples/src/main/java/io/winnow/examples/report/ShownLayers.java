package io.winnow.examples.report;

import com.google.common.primitives.Ints;
import io.winnow.core.InvalidInputException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.TreeSet;

/** Which layers get a chart of their own: a page with hundreds of charts serves nobody. */
final class ShownLayers {
  private static final int MOST = 8;

  private final List<Integer> wanted;

  /**
   * Shows the wanted layers, all of them.
   *
   * @param wanted empty for up to eight, evenly spaced from the first to the last
   */
  ShownLayers(List<Integer> wanted) {
    this.wanted = List.copyOf(wanted);
  }

  /**
   * Returns those of the given layers that are shown, ascending.
   *
   * @throws InvalidInputException if none of them is wanted
   */
  List<Integer> of(Collection<Integer> layers) {
    List<Integer> all = List.copyOf(new TreeSet<>(layers));
    if (!wanted.isEmpty()) {
      List<Integer> shown = all.stream().filter(wanted::contains).toList();
      if (shown.isEmpty()) {
        throw new InvalidInputException(
            "There is none of the layers " + wanted + " (--layers); there are " + all);
      }
      return shown;
    }
    if (all.size() <= MOST) {
      return all;
    }
    List<Integer> shown = new ArrayList<>();
    for (int i = 0; i < MOST; i++) {
      shown.add(all.get(Ints.checkedCast(Math.round(i * (all.size() - 1.0) / (MOST - 1)))));
    }
    return shown;
  }

  /** Says which layers have a chart if not all have; else it is empty. */
  List<String> note(Collection<Integer> layers) {
    List<Integer> shown = of(layers);
    int all = new TreeSet<>(layers).size();
    return shown.size() == all
        ? List.of()
        : List.of(
            "Charts of "
                + shown.size()
                + " of "
                + all
                + " layers; the option --layers chooses others.");
  }
}
