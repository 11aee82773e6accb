package io.winnow.examples.files;

import com.google.common.collect.ImmutableListMultimap;
import com.google.common.collect.ListMultimap;
import com.google.common.collect.MultimapBuilder;
import io.winnow.core.InvalidInputException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Options of the form {@code NAME=FILE}, or FILE alone, whose name goes up to its first dot. */
public final class NamedFiles {
  /** Names become those of columns and files. */
  private static final String NAME = "[A-Za-z0-9-]+";

  private NamedFiles() {}

  /** Returns the files of every name, in the order of the option. */
  public static ListMultimap<String, String> grouped(String option, List<String> values) {
    ListMultimap<String, String> files = MultimapBuilder.linkedHashKeys().arrayListValues().build();
    for (String value : values) {
      int equals = value.indexOf('=');
      boolean named = equals >= 0 && value.lastIndexOf('/', equals) < 0;
      String file = named ? value.substring(equals + 1) : value;
      String name =
          named
              ? value.substring(0, equals)
              : String.valueOf(Path.of(file).getFileName()).replaceFirst("\\..*", "");
      if (!name.matches(NAME)) {
        throw new InvalidInputException(
            String.format(
                "%s %s: '%s' is no name; use NAME=FILE with a name of letters, digits and '-'",
                option, value, name));
      }
      files.put(name, file);
    }
    return ImmutableListMultimap.copyOf(files);
  }

  /** Returns the file of every name, in the order of the option. */
  public static Map<String, Path> single(String option, List<String> values) {
    Map<String, Path> single = new LinkedHashMap<>();
    grouped(option, values)
        .forEach(
            (name, file) -> {
              if (single.put(name, Path.of(file)) != null) {
                throw new InvalidInputException(
                    String.format(
                        "%s: two files have the name '%s'; give them names of their own by NAME=FILE",
                        option, name));
              }
            });
    return single;
  }
}
