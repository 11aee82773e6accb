package io.winnow.examples.report;

import com.google.common.html.HtmlEscapers;
import com.google.common.io.Resources;
import io.winnow.core.internal.environment.WinnowVersion;
import io.winnow.examples.report.chart.Drawing;
import io.winnow.examples.report.chart.Figure;
import io.winnow.examples.report.chart.Theme;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/** A report as one HTML file: its style and pictures are inside. Not thread-safe. */
final class HtmlPage {
  private static final Pattern NUMBER = Pattern.compile("[-+]?[0-9][0-9.,e+-]*( %)?");

  private final Report report;
  private final Map<String, String> pictures = new HashMap<>();
  private final StringBuilder html = new StringBuilder();

  HtmlPage(Report report) {
    this.report = report;
  }

  /** Takes a picture, one for each figure and theme. */
  void add(Figure figure, Theme theme, byte[] png) {
    pictures.put(
        figure.name() + theme.suffix(),
        "data:image/png;base64," + Base64.getEncoder().encodeToString(png));
  }

  String html() throws IOException {
    html.setLength(0);
    line("<!doctype html>");
    line("<html lang=\"en\">");
    line("<head>");
    line("<meta charset=\"utf-8\">");
    line("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    line("<meta name=\"color-scheme\" content=\"light dark\">");
    // So that a browser, too, sees to it that nothing is loaded from elsewhere.
    line(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:;"
            + " style-src 'unsafe-inline'\">");
    line("<title>" + escape(report.title()) + "</title>");
    line("<style>");
    html.append(
        Resources.toString(
            Resources.getResource(HtmlPage.class, "report.css"), StandardCharsets.UTF_8));
    line("</style>");
    line("</head>");
    line("<body>");
    header();
    line("<main>");
    report.sections().forEach(this::section);
    line("</main>");
    line("<footer>Written by winnow " + escape(WinnowVersion.get()) + ".</footer>");
    line("</body>");
    line("</html>");
    return html.toString();
  }

  private void header() {
    line("<header>");
    line("<h1>" + escape(report.title()) + "</h1>");
    if (!report.facts().isEmpty()) {
      line("<dl>");
      for (Report.Fact fact : report.facts()) {
        line(
            "<div><dt>" + escape(fact.name()) + "</dt><dd>" + escape(fact.value()) + "</dd></div>");
      }
      line("</dl>");
    }
    line("<nav aria-label=\"Sections\"><ul>");
    for (Section section : report.sections()) {
      line("<li><a href=\"#" + section.id() + "\">" + escape(section.title()) + "</a></li>");
    }
    line("</ul></nav>");
    line("</header>");
  }

  private void section(Section section) {
    line("<section id=\"" + section.id() + "\">");
    line("<h2>" + escape(section.title()) + "</h2>");
    section.what().forEach(what -> line("<p>" + escape(what) + "</p>"));
    if (!section.figures().isEmpty()) {
      line("<div class=\"figures\">");
      section.figures().forEach(this::figure);
      line("</div>");
    }
    section.tables().forEach(this::table);
    line("</section>");
  }

  private void figure(Figure figure) {
    line("<figure>");
    for (Theme theme : Theme.values()) {
      line(
          "<img class=\""
              + (theme == Theme.DARK ? "dark" : "light")
              + "\" width=\""
              + Drawing.WIDTH
              + "\" alt=\""
              + escape(figure.alt())
              + "\" src=\""
              + pictures.get(figure.name() + theme.suffix())
              + "\">");
    }
    line("</figure>");
  }

  private void table(Section.Table table) {
    String caption = escape(table.caption());
    // The box scrolls where the table is wider than the page, also by keyboard.
    line("<div class=\"table\" role=\"region\" tabindex=\"0\" aria-label=\"" + caption + "\">");
    line("<table>");
    line("<caption>" + caption + "</caption>");
    // A column of numbers has them, and its name, on the right.
    List<String> classes =
        IntStream.range(0, table.head().size())
            .mapToObj(column -> isNumeric(table, column) ? " class=\"number\"" : "")
            .toList();
    row(table.head(), "th scope=\"col\"", "th", classes);
    table.rows().forEach(row -> row(row, "td", "td", classes));
    line("</table>");
    line("</div>");
  }

  private static boolean isNumeric(Section.Table table, int column) {
    List<String> filled =
        table.rows().stream().map(row -> row.get(column)).filter(cell -> !cell.isEmpty()).toList();
    return !filled.isEmpty() && filled.stream().allMatch(NUMBER.asMatchPredicate());
  }

  private void row(List<String> cells, String open, String close, List<String> classes) {
    html.append("<tr>");
    for (int column = 0; column < cells.size(); column++) {
      html.append("<")
          .append(open)
          .append(classes.get(column))
          .append(">")
          .append(escape(cells.get(column)))
          .append("</")
          .append(close)
          .append(">");
    }
    line("</tr>");
  }

  private static String escape(String text) {
    return HtmlEscapers.htmlEscaper().escape(text);
  }

  private void line(String text) {
    html.append(text).append('\n');
  }
}
