package io.winnow.examples.report.chart;

import java.util.List;
import org.knowm.xchart.CategoryChart;
import org.knowm.xchart.internal.chartpart.Chart;

/**
 * Numbers per category, from 0 to {@code most}.
 *
 * @param xTitle the x axis
 * @param categories a label per category
 * @param yTitle the y axis
 */
public record BarChart(
    String title,
    String xTitle,
    List<String> categories,
    String yTitle,
    double most,
    List<Bars> series)
    implements Drawing {
  private static final int HEIGHT = 240;
  private static final int MOST_LABELS = 16;

  /** One number per category. */
  public record Bars(String name, List<Double> values) {}

  @Override
  public Chart<?, ?> draw(Theme theme) {
    List<String> names = series.stream().map(Bars::name).toList();
    CategoryChart chart = new CategoryChart(WIDTH, HEIGHT + Legend.height(names));
    Drawing.dress(chart, theme, names, title, xTitle, yTitle);
    chart
        .getStyler()
        .setAvailableSpaceFill(0.7)
        .setPlotGridVerticalLinesVisible(false)
        .setXAxisMaxLabelCount(MOST_LABELS)
        .setYAxisMin(0.0)
        .setYAxisMax(most);
    series.forEach(bars -> chart.addSeries(bars.name(), categories, bars.values()));
    return chart;
  }
}
