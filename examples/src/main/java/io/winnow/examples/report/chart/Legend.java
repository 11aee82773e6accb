package io.winnow.examples.report.chart;

import java.util.List;
import org.knowm.xchart.style.Styler;

/** The names of a chart's series below it: side by side if they fit, else one below the other. */
final class Legend {
  private static final int LINE = 18;
  private static final int SYMBOL = 40;
  private static final int LETTER = 7;

  private Legend() {}

  /** Returns the pixels that the chart needs for it. */
  static int height(List<String> names) {
    return isOneLine(names) ? LINE : LINE * names.size();
  }

  static void style(Styler styler, List<String> names) {
    styler
        .setLegendLayout(
            isOneLine(names) ? Styler.LegendLayout.Horizontal : Styler.LegendLayout.Vertical)
        .setLegendSeriesLineLength(20);
  }

  private static boolean isOneLine(List<String> names) {
    return names.stream().mapToInt(name -> SYMBOL + LETTER * name.length()).sum() <= Drawing.WIDTH;
  }
}
