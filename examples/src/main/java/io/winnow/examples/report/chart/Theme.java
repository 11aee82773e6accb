package io.winnow.examples.report.chart;

import java.awt.Color;

/** The colours of a chart on a light page (and on paper), and on a dark one. */
public enum Theme {
  LIGHT(
      "",
      new Color(0xFFFFFF),
      new Color(0x1F2328),
      new Color(0xD8DEE4),
      new Color[] {new Color(0xF1F5F9), new Color(0x7DB4EA)},
      new Color[] {new Color(0xF0A878), new Color(0xF7F8FA), new Color(0x7DB4EA)},
      new Color(0xC2410C),
      0x0B67B2,
      0xB45309,
      0x047857,
      0xA8327D,
      0x5B4BB7,
      0x6B7280,
      0x0E7490,
      0x8A1C1C),
  DARK(
      "-dark",
      new Color(0x161B22),
      new Color(0xE6EDF3),
      new Color(0x30363D),
      new Color[] {new Color(0x1F2732), new Color(0x2E74BC)},
      new Color[] {new Color(0xA4562A), new Color(0x1F2732), new Color(0x2E74BC)},
      new Color(0xFF9D5C),
      0x6CB6FF,
      0xF0B34A,
      0x4CD6A0,
      0xF08CC8,
      0xB3A5FF,
      0xA9B3BF,
      0x53D1E6,
      0xFF8A8A);

  private final String suffix;
  private final Color background;
  private final Color text;
  private final Color grid;
  private final Color[] amounts;
  private final Color[] signed;
  private final Color mark;
  private final Color[] series;

  Theme(
      String suffix,
      Color background,
      Color text,
      Color grid,
      Color[] amounts,
      Color[] signed,
      Color mark,
      int... series) {
    this.suffix = suffix;
    this.background = background;
    this.text = text;
    this.grid = grid;
    this.amounts = amounts;
    this.signed = signed;
    this.mark = mark;
    this.series = new Color[series.length];
    for (int i = 0; i < series.length; i++) {
      this.series[i] = new Color(series[i]);
    }
  }

  /** What the names of this theme's files end with. */
  public String suffix() {
    return suffix;
  }

  public Color background() {
    return background;
  }

  public Color text() {
    return text;
  }

  public Color grid() {
    return grid;
  }

  /** From nothing to the greatest amount; the text is readable on all of them. */
  public Color[] amounts() {
    return amounts.clone();
  }

  /** From the most negative number through 0 to the most positive. */
  public Color[] signed() {
    return signed.clone();
  }

  /** Of the one point that a chart is about. */
  public Color mark() {
    return mark;
  }

  /** Of the series, in turn. */
  public Color[] series() {
    return series.clone();
  }
}
