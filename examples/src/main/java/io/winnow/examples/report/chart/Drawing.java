package io.winnow.examples.report.chart;

import java.awt.BasicStroke;
import java.awt.Font;
import java.util.List;
import java.util.Locale;
import org.knowm.xchart.internal.chartpart.Chart;
import org.knowm.xchart.style.AxesChartStyler;
import org.knowm.xchart.style.Styler;
import org.knowm.xchart.style.markers.Marker;
import org.knowm.xchart.style.markers.SeriesMarkers;

/**
 * A chart that can be drawn in any theme. Immutable.
 *
 * <p>Charts are as wide as a phone, so that their text keeps its size there; where there is more
 * room, several stand side by side.
 */
public interface Drawing {
  /** In CSS pixels. */
  int WIDTH = 360;

  /** Draws the chart, which has a title and names both axes. */
  Chart<?, ?> draw(Theme theme);

  /** Gives a chart of several series its titles, its legend and what all charts have in common. */
  static void dress(
      Chart<? extends AxesChartStyler, ?> chart,
      Theme theme,
      List<String> series,
      String title,
      String xTitle,
      String yTitle) {
    chart.setTitle(title);
    chart.setXAxisTitle(xTitle);
    chart.setYAxisTitle(yTitle);
    style(chart.getStyler(), theme);
    Legend.style(chart.getStyler(), series);
  }

  /** Applies what all charts have in common. */
  static void style(AxesChartStyler styler, Theme theme) {
    Font font = new Font(Font.SANS_SERIF, Font.PLAIN, 11);
    styler
        .setChartBackgroundColor(theme.background())
        .setPlotBackgroundColor(theme.background())
        .setPlotBorderVisible(false)
        .setChartFontColor(theme.text())
        .setChartTitleFont(font.deriveFont(Font.BOLD, 12))
        .setChartTitleBoxVisible(false)
        .setChartTitlePadding(8)
        .setChartPadding(10)
        .setSeriesColors(theme.series())
        .setSeriesMarkers(
            new Marker[] {
              SeriesMarkers.CIRCLE,
              SeriesMarkers.SQUARE,
              SeriesMarkers.DIAMOND,
              SeriesMarkers.TRIANGLE_UP,
              SeriesMarkers.TRIANGLE_DOWN,
              SeriesMarkers.CROSS,
              SeriesMarkers.TRAPEZOID,
              SeriesMarkers.OVAL
            })
        .setMarkerSize(6)
        .setLegendPosition(Styler.LegendPosition.OutsideS)
        .setLegendLayout(Styler.LegendLayout.Horizontal)
        .setLegendBackgroundColor(theme.background())
        .setLegendBorderColor(theme.background())
        .setLegendFont(font)
        .setLegendPadding(6);
    styler.setSeriesLines(new BasicStroke[] {new BasicStroke(1.6f)});
    styler
        .setAxisTitleFont(font)
        .setAxisTickLabelsFont(font)
        .setAxisTickLabelsColor(theme.text())
        .setAxisTickMarksColor(theme.grid())
        .setXAxisTitleColor(theme.text())
        .setYAxisTitleColor(theme.text());
    styler
        .setPlotGridLinesColor(theme.grid())
        .setPlotGridLinesStroke(new BasicStroke(0.7f))
        .setAxisTitlePadding(8)
        .setPlotMargin(2)
        .setLocale(Locale.ROOT);
  }
}
