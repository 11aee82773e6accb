package io.winnow.core.internal.environment;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.Properties;

/** The version of this library. */
public final class WinnowVersion {
  private WinnowVersion() {}

  /** Returns the version, such as {@code 0.1.0}. */
  public static String get() {
    try (InputStream in = WinnowVersion.class.getResourceAsStream("version.properties")) {
      Properties properties = new Properties();
      properties.load(in);
      return properties.getProperty("version");
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
