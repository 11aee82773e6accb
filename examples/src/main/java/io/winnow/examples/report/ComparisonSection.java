package io.winnow.examples.report;

import io.winnow.examples.report.result.ComparisonResult;
import java.util.List;
import java.util.Optional;

/** Methods side by side. */
final class ComparisonSection {
  private ComparisonSection() {}

  static Optional<Section> of(List<ComparisonResult> comparisons) {
    if (comparisons.isEmpty()) {
      return Optional.empty();
    }
    return Optional.of(
        new Section(
            "comparison",
            "Methods compared",
            List.of(
                "Of perplexities, bytes and seconds less is better, of accuracies more. Look along"
                    + " the rows of one number of retained experts."),
            comparisons.stream().flatMap(one -> SizeCharts.of(one).stream()).toList(),
            comparisons.stream()
                .map(
                    one ->
                        new Section.Table(one.rows().size() + " models", one.columns(), one.rows()))
                .toList()));
  }
}
