package io.winnow.core.internal.layout;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The names of modules in {@code config.json} and in the files of quantisers, such as {@code
 * modules_to_not_convert}, {@code ignore} and {@code exclude_modules}: those of experts follow the
 * experts to their new numbers, and those of removed ones go.
 */
final class ModuleNames {
  private static final Logger LOGGER = LoggerFactory.getLogger(ModuleNames.class);

  /** What precedes a layer, the layer or any, what precedes an expert, its number, and the rest. */
  private static final Pattern EXPERT =
      Pattern.compile(
          "((?:.*[^\\w])?layers\\\\?\\.)(\\d{1,9}|\\*)"
              + "(\\\\?\\.(?:\\w+\\\\?\\.)*?experts\\\\?\\.(?:[A-Za-z_]\\w*\\\\?\\.)?)(\\d{1,9})"
              + "((?!\\d).*)");

  /** What might be a number of an expert all the same. */
  private static final Pattern OTHER = Pattern.compile("(?<!shared_)experts\\\\?\\.[^A-Za-z]*\\d");

  private final Map<Integer, List<Integer>> retained;
  private final Map<Integer, Integer> counts = new TreeMap<>();
  private final Set<Integer> droppedLayers;

  /**
   * Creates it.
   *
   * @param retained the experts that stay, by layer, ascending
   * @param droppedLayers layers that are left out
   */
  ModuleNames(
      CheckpointLayout layout, Map<Integer, List<Integer>> retained, Set<Integer> droppedLayers) {
    this.retained = retained;
    this.droppedLayers = droppedLayers;
    retained.keySet().forEach(layer -> counts.put(layer, layout.experts(layer)));
  }

  /** Returns JSON with the new names. */
  JsonElement renamed(JsonElement json) {
    if (json instanceof JsonArray array) {
      JsonArray result = new JsonArray();
      for (JsonElement element : array) {
        if (element instanceof JsonPrimitive primitive && primitive.isString()) {
          renamed(primitive.getAsString()).forEach(result::add);
        } else {
          result.add(renamed(element));
        }
      }
      return result;
    }
    if (json instanceof JsonObject object) {
      JsonObject result = new JsonObject();
      object
          .asMap()
          .forEach(
              (name, value) ->
                  renamed(name).forEach(newName -> result.add(newName, renamed(value))));
      return result;
    }
    return json;
  }

  /** Returns the new names of what a name stands for. */
  private List<String> renamed(String name) {
    Matcher matcher = EXPERT.matcher(name);
    if (!matcher.matches()) {
      if (OTHER.matcher(name).find()) {
        LOGGER.warn(
            "'{}' may name experts by their old numbers; only names of one expert of one layer, or"
                + " of every layer ('*'), follow the pruning",
            name);
      }
      return List.of(name);
    }
    String rest = matcher.group(5);
    // As a pattern of file names, 1* also stands for 10 to 19.
    boolean open = rest.startsWith("*");
    List<String> names = new ArrayList<>();
    for (int layer : layers(matcher.group(2))) {
      if (droppedLayers.contains(layer)) {
        continue;
      }
      List<Integer> kept = retained.get(layer);
      if (kept == null) {
        return List.of(name);
      }
      for (int expert : experts(matcher.group(4), open, counts.getOrDefault(layer, 0))) {
        int place = kept.indexOf(expert);
        if (place >= 0) {
          names.add(matcher.group(1) + layer + matcher.group(3) + place + (open ? "." : "") + rest);
        }
      }
    }
    return names;
  }

  private Collection<Integer> layers(String number) {
    return number.equals("*") ? retained.keySet() : List.of(Integer.valueOf(number));
  }

  private static List<Integer> experts(String number, boolean open, int count) {
    return open
        ? IntStream.range(0, count)
            .filter(expert -> Integer.toString(expert).startsWith(number))
            .boxed()
            .toList()
        : List.of(Integer.valueOf(number));
  }
}
