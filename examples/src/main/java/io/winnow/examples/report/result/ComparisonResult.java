package io.winnow.examples.report.result;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonPrimitive;
import io.winnow.core.InvalidInputException;
import java.math.BigDecimal;
import java.math.MathContext;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/**
 * A table of compared models: whatever columns its file has.
 *
 * @param columns their names, in order
 * @param rows a cell per column
 */
public record ComparisonResult(List<String> columns, List<List<String>> rows) {
  private static final MathContext FOUR_DIGITS = new MathContext(4);

  /** Copies the lists. */
  public ComparisonResult {
    columns = List.copyOf(columns);
    rows = rows.stream().map(List::copyOf).toList();
  }

  /**
   * Reads what {@code winnow compare --out} wrote as comparison.json: {@code {"columns": ["method",
   * ...], "rows": [{"method": "reap", "retained": 6, "perplexity": {"code": 14.07}}, ...]}}. An
   * object in a cell becomes one column per member; columns that are not listed follow in the order
   * in which they occur.
   *
   * @throws InvalidInputException if the file is no comparison
   */
  public static ComparisonResult read(Path file) {
    return ReportFiles.read(
        file, "a comparison", "'winnow compare --out'", ComparisonResult::fromJson);
  }

  private static ComparisonResult fromJson(JsonObject json) {
    List<Map<String, String>> rows = new ArrayList<>();
    Set<String> occurring = new LinkedHashSet<>();
    for (JsonElement element : ReportFiles.array(json, "rows")) {
      Map<String, String> row = new LinkedHashMap<>();
      if (!(element instanceof JsonObject object)) {
        throw new JsonParseException("a row is " + element + ", not an object");
      }
      object.asMap().forEach((name, value) -> add(row, name, value));
      rows.add(row);
      occurring.addAll(row.keySet());
    }
    Set<String> columns = new LinkedHashSet<>();
    if (json.has("columns")) {
      for (JsonElement element : ReportFiles.array(json, "columns")) {
        String name = element.getAsString();
        occurring.stream()
            .filter(column -> column.equals(name) || column.startsWith(name + " "))
            .forEach(columns::add);
      }
    }
    columns.addAll(occurring);
    return new ComparisonResult(
        List.copyOf(columns),
        rows.stream()
            .map(row -> columns.stream().map(column -> row.getOrDefault(column, "")).toList())
            .toList());
  }

  private static void add(Map<String, String> row, String name, JsonElement value) {
    if (value instanceof JsonObject members) {
      members.asMap().forEach((member, inner) -> add(row, name + " " + member, inner));
    } else if (value.isJsonNull()) {
      row.put(name, "");
    } else if (value instanceof JsonPrimitive primitive) {
      row.put(name, primitive.isNumber() ? number(primitive) : primitive.getAsString());
    } else {
      throw new JsonParseException("'" + name + "' is a list; a cell is a number or a text");
    }
  }

  private static String number(JsonPrimitive primitive) {
    double number = primitive.getAsDouble();
    if (!Double.isFinite(number)) {
      return primitive.getAsString();
    }
    if (number == Math.rint(number) && Math.abs(number) < 1e15) {
      return String.format(Locale.ROOT, "%.0f", number);
    }
    return Math.abs(number) >= 1e-3 && Math.abs(number) < 1e7
        ? BigDecimal.valueOf(number).round(FOUR_DIGITS).toPlainString()
        : String.format(Locale.ROOT, "%.3e", number);
  }
}
