package io.winnow.examples.files;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalLong;

/** Numbers that Linux tells of itself in files of lines such as {@code VmRSS: 1024 kB}. */
public final class ProcFile {
  private ProcFile() {}

  /**
   * Returns the number of a field.
   *
   * @param field the first word of its line, with the colon
   * @return empty where there is no such file or field
   */
  public static OptionalLong number(Path file, String field) {
    try {
      return Files.readAllLines(file).stream()
          .filter(line -> line.startsWith(field))
          .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")))
          .findFirst();
    } catch (IOException e) {
      return OptionalLong.empty();
    }
  }

  /** Returns a field that is told in kB, in bytes. */
  public static OptionalLong bytes(Path file, String field) {
    OptionalLong kilobytes = number(file, field);
    return kilobytes.isPresent()
        ? OptionalLong.of(1024 * kilobytes.getAsLong())
        : OptionalLong.empty();
  }
}
