package io.winnow.examples.report.chart;

import java.awt.Font;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.stream.IntStream;
import org.knowm.xchart.HeatMapChart;
import org.knowm.xchart.HeatMapChartBuilder;
import org.knowm.xchart.internal.chartpart.Chart;

/**
 * A matrix as a picture: one cell per element, the first row on top.
 *
 * @param rowTitle the y axis
 * @param rows a label per row
 * @param columnTitle the x axis
 * @param columns a label per column
 * @param values {@code [rows][columns]}; NaN leaves a cell empty
 * @param least the number of the first colour
 * @param most the number of the last colour, greater than {@code least}
 * @param signed whether the colours part at 0, halfway between {@code least} and {@code most}
 * @param written whether cells carry their number, in whole, where there is room
 */
public record HeatMap(
    String title,
    String rowTitle,
    List<String> rows,
    String columnTitle,
    List<String> columns,
    double[][] values,
    double least,
    double most,
    boolean signed,
    boolean written)
    implements Drawing {
  private static final int MARGINS = 84;
  private static final int LEAST_PLOT = 90;
  private static final int MOST_PLOT = 300;
  private static final int LEAST_WRITTEN_WIDTH = 26;
  private static final int LEAST_WRITTEN_HEIGHT = 14;
  private static final int SHADES = 24;
  private static final int LEAST_ROW = 5;
  private static final int LINE = 14;
  private static final int LETTER = 8;

  @Override
  public Chart<?, ?> draw(Theme theme) {
    int cell = Math.max(1, (WIDTH - MARGINS) / columns.size());
    int plot = Math.max(LEAST_PLOT, Math.min(MOST_PLOT, Math.max(LEAST_ROW, cell) * rows.size()));
    boolean numbers =
        written && cell >= LEAST_WRITTEN_WIDTH && plot / rows.size() >= LEAST_WRITTEN_HEIGHT;
    HeatMapChart chart =
        new HeatMapChartBuilder()
            .width(WIDTH)
            .height(plot + MARGINS)
            .title(title)
            .xAxisTitle(columnTitle)
            .yAxisTitle(rowTitle)
            .build();
    Drawing.style(chart.getStyler(), theme);
    chart
        .getStyler()
        .setRangeColors(signed ? theme.signed() : theme.amounts())
        .setMin(least)
        .setMax(most)
        .setShowValue(numbers)
        // Whole numbers look the same in every locale, which XChart does not ask for here.
        .setHeatMapValueDecimalPattern("0")
        .setValueFont(new Font(Font.SANS_SERIF, Font.PLAIN, 10))
        .setValueFontColor(theme.text())
        .setPlotGridLinesVisible(false)
        .setPlotContentSize(1)
        .setLegendVisible(false);
    List<Number[]> cells = new ArrayList<>();
    for (int row = 0; row < rows.size(); row++) {
      for (int column = 0; column < columns.size(); column++) {
        if (!Double.isNaN(values[row][column])) {
          double value = numbers ? unsignedZero(values[row][column]) : shade(values[row][column]);
          cells.add(new Number[] {column, rows.size() - 1 - row, value});
        }
      }
    }
    List<String> upwards = new ArrayList<>(sparse(rows, plot / LINE));
    Collections.reverse(upwards);
    int letters = columns.stream().mapToInt(String::length).max().orElse(0);
    chart.addSeries(
        title, sparse(columns, (WIDTH - MARGINS) / (LETTER * (letters + 1))), upwards, cells);
    return chart;
  }

  /** Keeps a small negative number from being written as -0. */
  private static double unsignedZero(double value) {
    return Math.abs(value) < 0.5 ? 0 : value;
  }

  /** Nobody tells more shades apart, and with fewer the file is smaller. */
  private double shade(double value) {
    double step = (most - least) / SHADES;
    return least + step * Math.rint((value - least) / step);
  }

  /** Leaves out labels where there is room for so many only. */
  private static List<String> sparse(List<String> labels, int room) {
    int step = (labels.size() + room - 1) / room;
    return IntStream.range(0, labels.size())
        .mapToObj(i -> i % step == 0 ? labels.get(i) : " ")
        .toList();
  }
}
