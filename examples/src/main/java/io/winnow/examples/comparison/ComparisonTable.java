package io.winnow.examples.comparison;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** The rows of a comparison as a table of text; a word of a column's name a line. */
public final class ComparisonTable {
  private static final String NONE = "-";

  private ComparisonTable() {}

  /** Returns the table, whose lines end with a line separator. */
  public static String of(List<String> columns, List<JsonObject> rows) {
    List<List<String>> names = columns.stream().map(name -> List.of(name.split("_"))).toList();
    int height = names.stream().mapToInt(List::size).max().orElse(0);
    List<List<String>> lines = new ArrayList<>();
    for (int missing = height; missing > 0; missing--) {
      int left = missing;
      lines.add(
          names.stream()
              .map(words -> left > words.size() ? "" : words.get(words.size() - left))
              .toList());
    }
    for (JsonObject row : rows) {
      lines.add(columns.stream().map(column -> cell(row.get(column))).toList());
    }
    List<Integer> widths =
        IntStream.range(0, columns.size())
            .mapToObj(i -> lines.stream().mapToInt(line -> line.get(i).length()).max().orElse(0))
            .toList();
    StringBuilder table = new StringBuilder();
    lines.forEach(line -> append(table, line, widths));
    return table.toString();
  }

  /** The first column is at the left, all others are at the right. */
  private static void append(StringBuilder table, List<String> cells, List<Integer> widths) {
    StringBuilder line = new StringBuilder();
    for (int i = 0; i < cells.size(); i++) {
      String blanks = " ".repeat(widths.get(i) - cells.get(i).length());
      line.append(i == 0 ? cells.get(i) + blanks : "  " + blanks + cells.get(i));
    }
    table.append(line.toString().stripTrailing()).append(System.lineSeparator());
  }

  private static String cell(@Nullable JsonElement value) {
    if (value == null || value.isJsonNull()) {
      return NONE;
    }
    String text = value.getAsString();
    if (!value.getAsJsonPrimitive().isNumber() || text.matches("-?\\d+")) {
      return text;
    }
    double number = value.getAsDouble();
    return String.format(Locale.ROOT, Math.abs(number) < 1000 ? "%.3f" : "%.0f", number);
  }
}
