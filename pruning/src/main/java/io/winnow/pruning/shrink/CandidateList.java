package io.winnow.pruning.shrink;

import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerwiseModel;
import io.winnow.pruning.internal.search.RetainedNumber;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;

/** The ways to bring a model within a limit that are worth trying, all layers alike. */
final class CandidateList {
  private final LayerwiseModel model;
  private final SizeLimit limit;
  private final int multiple;
  private final String whyNotNarrow;

  /** How experts are chosen, how many of them, and their width. */
  record Entry(String name, int experts, int width) {
    boolean keepsAll() {
      return name.equals(NARROW);
    }

    boolean byReconstruction() {
      return name.startsWith(RECONSTRUCTION);
    }
  }

  static final String NARROW = "narrow";
  static final String RECONSTRUCTION = "reconstruction";
  static final String REAP = "reap";

  CandidateList(LayerwiseModel model, SizeLimit limit, int multiple) {
    this.model = model;
    this.limit = limit;
    this.multiple = multiple;
    String why = "";
    try {
      model.checkNarrow(Math.max(1, Math.min(multiple, model.intermediateSize())));
    } catch (InvalidInputException e) {
      why = String.valueOf(e.getMessage());
    }
    whyNotNarrow = why;
  }

  /** Returns why experts cannot be narrowed; empty if they can. */
  String whyNotNarrow() {
    return whyNotNarrow;
  }

  /**
   * Returns them.
   *
   * @throws InvalidInputException if nothing is within the limit
   */
  List<Entry> entries() {
    int all =
        model.moeLayers().stream().mapToInt(LayerwiseModel.MoeLayer::numExperts).max().orElse(0);
    int full = model.intermediateSize();
    Set<Entry> entries = new LinkedHashSet<>();
    TreeSet<Integer> counts = possibleCounts(all);
    if (limit.allows(model, Sizes.full(model))) {
      return List.of(new Entry(NARROW, all, full));
    }
    int width = widestOf(all);
    if (width > 0) {
      entries.add(new Entry(NARROW, all, width));
    }
    Integer fewest = null;
    for (int count : counts) {
      if (count < all && limit.allows(model, Sizes.uniform(model, count, full))) {
        fewest = count;
      }
    }
    if (fewest != null) {
      entries.add(new Entry(RECONSTRUCTION, fewest, full));
      entries.add(new Entry(REAP, fewest, full));
    }
    Integer between = counts.floor((all + (fewest == null ? counts.first() : fewest)) / 2);
    if (between != null && between < all && (fewest == null || between > fewest)) {
      int mixed = widestOf(between);
      if (mixed > 0 && mixed < full) {
        entries.add(new Entry(RECONSTRUCTION + "+" + NARROW, between, mixed));
        entries.add(new Entry(REAP + "+" + NARROW, between, mixed));
      }
    }
    if (entries.isEmpty()) {
      int least = whyNotNarrow.isEmpty() ? Math.min(multiple, full) : full;
      throw new InvalidInputException(
          String.format(
              "%s is less than %d experts of %d channels a layer need; the least that can be had is"
                  + " %s%s",
              limit.inWords(),
              counts.first(),
              least,
              limit.needed(model, Sizes.uniform(model, counts.first(), least)),
              whyNotNarrow.isEmpty() ? "" : " (" + whyNotNarrow + ")"));
    }
    return new ArrayList<>(entries);
  }

  /** Returns how many experts every layer can keep. */
  private TreeSet<Integer> possibleCounts(int all) {
    TreeSet<Integer> counts = new TreeSet<>();
    for (int count = 1; count <= all; count++) {
      int tried = count;
      if (model.moeLayers().stream()
          .allMatch(
              layer ->
                  RetainedNumber.isPossible(
                      layer.numExperts(), layer.routing(), Math.min(tried, layer.numExperts())))) {
        counts.add(count);
      }
    }
    return counts;
  }

  /**
   * Returns the greatest width, less than the full one, that so many experts can have; 0 for none.
   */
  private int widestOf(int experts) {
    if (!whyNotNarrow.isEmpty()) {
      return 0;
    }
    int width = (model.intermediateSize() - 1) / multiple * multiple;
    while (width > 0 && !limit.allows(model, Sizes.uniform(model, experts, width))) {
      width -= multiple;
    }
    return width;
  }
}
