package io.winnow.examples.report;

import io.winnow.examples.report.chart.Figure;
import java.util.List;

/**
 * A part of a report.
 *
 * @param id what links lead to
 * @param what says what is to be seen, one text per paragraph
 */
record Section(
    String id, String title, List<String> what, List<Figure> figures, List<Table> tables) {
  /**
   * Numbers and texts in rows.
   *
   * @param head a name per column
   * @param rows a cell per column
   */
  record Table(String caption, List<String> head, List<List<String>> rows) {}
}
