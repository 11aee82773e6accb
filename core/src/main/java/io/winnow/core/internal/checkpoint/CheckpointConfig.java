package io.winnow.core.internal.checkpoint;

import com.google.common.base.Splitter;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.Json;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/**
 * The content of a checkpoint's {@code config.json}. Fields changed their names over the years, so
 * every reader takes several names: the first that is present and not null counts. A name may be a
 * path into nested objects, such as {@code "rope_parameters.rope_theta"}. A value of the wrong kind
 * is an {@link InvalidInputException} that names file, field and value.
 *
 * <p>Immutable, hence safe for use by several threads.
 */
public final class CheckpointConfig {
  private static final Splitter PATH = Splitter.on('.');

  private final Path file;
  private final JsonObject json;

  private CheckpointConfig(Path file, JsonObject json) {
    this.file = file;
    this.json = json;
  }

  static CheckpointConfig read(Path file) {
    return new CheckpointConfig(file, Json.readObject(file));
  }

  CheckpointConfig movedTo(Path newFile) {
    return new CheckpointConfig(newFile, json);
  }

  /** The same file with another content. */
  public CheckpointConfig with(JsonObject content) {
    return new CheckpointConfig(file, content);
  }

  /** The whole content, as a copy that the caller may change. */
  public JsonObject json() {
    return json.deepCopy();
  }

  /**
   * The architecture family, such as {@code "mixtral"}.
   *
   * @throws InvalidInputException if {@code model_type} is absent or no text
   */
  public String modelType() {
    return string("model_type").orElseThrow(() -> absent("model_type"));
  }

  /**
   * A whole number.
   *
   * @throws InvalidInputException if it is absent or no whole number of 32 bits
   */
  public int requireInt(String... names) {
    return optInt(names).orElseThrow(() -> absent(names));
  }

  /**
   * A whole number of at least one.
   *
   * @throws InvalidInputException if it is absent, no whole number of 32 bits, or less than one
   */
  public int requirePositiveInt(String... names) {
    Field field = find(names);
    if (field == null) {
      throw absent(names);
    }
    int value = toInt(field);
    if (value < 1) {
      throw wrong(field, "a whole number of at least 1");
    }
    return value;
  }

  /**
   * A whole number, or the fallback if it is absent.
   *
   * @throws InvalidInputException if it is no whole number of 32 bits
   */
  public int intOr(int fallback, String... names) {
    return optInt(names).orElse(fallback);
  }

  /**
   * A whole number, or empty if it is absent.
   *
   * @throws InvalidInputException if it is no whole number of 32 bits
   */
  public OptionalInt optInt(String... names) {
    Field field = find(names);
    return field == null ? OptionalInt.empty() : OptionalInt.of(toInt(field));
  }

  /**
   * A number, or the fallback if it is absent.
   *
   * @throws InvalidInputException if it is no number, or not finite as a double
   */
  public double doubleOr(double fallback, String... names) {
    Field field = find(names);
    if (field == null) {
      return fallback;
    }
    return toDouble(field);
  }

  /**
   * A number.
   *
   * @throws InvalidInputException if it is absent, no number, or not finite as a double
   */
  public double requireDouble(String... names) {
    Field field = find(names);
    if (field == null) {
      throw absent(names);
    }
    return toDouble(field);
  }

  private double toDouble(Field field) {
    if (isPrimitive(field) && field.value().getAsJsonPrimitive().isNumber()) {
      double value = field.value().getAsDouble();
      if (Double.isFinite(value)) {
        return value;
      }
    }
    throw wrong(field, "a finite number");
  }

  /**
   * A truth value, or the fallback if it is absent.
   *
   * @throws InvalidInputException if it is neither true nor false
   */
  public boolean booleanOr(boolean fallback, String... names) {
    Field field = find(names);
    if (field == null) {
      return fallback;
    }
    if (isPrimitive(field) && field.value().getAsJsonPrimitive().isBoolean()) {
      return field.value().getAsBoolean();
    }
    throw wrong(field, "true or false");
  }

  /**
   * A text, or empty if it is absent.
   *
   * @throws InvalidInputException if it is no text
   */
  public Optional<String> string(String... names) {
    Field field = find(names);
    if (field == null) {
      return Optional.empty();
    }
    return Optional.of(toText(field));
  }

  private String toText(Field field) {
    if (isPrimitive(field) && field.value().getAsJsonPrimitive().isString()) {
      return field.value().getAsString();
    }
    throw wrong(field, "a text");
  }

  /**
   * A list of whole numbers, or empty if it is absent.
   *
   * @throws InvalidInputException if it is no list of whole numbers of 32 bits
   */
  public Optional<List<Integer>> ints(String... names) {
    return list(this::toInt, names);
  }

  /**
   * A list of numbers, or empty if it is absent.
   *
   * @throws InvalidInputException if it is no list of finite numbers
   */
  public Optional<List<Double>> doubles(String... names) {
    return list(this::toDouble, names);
  }

  /**
   * A list of texts, or empty if it is absent.
   *
   * @throws InvalidInputException if it is no list of texts
   */
  public Optional<List<String>> strings(String... names) {
    return list(this::toText, names);
  }

  private <T> Optional<List<T>> list(Function<Field, T> element, String... names) {
    Field field = find(names);
    if (field == null) {
      return Optional.empty();
    }
    if (!field.value().isJsonArray()) {
      throw wrong(field, "a list");
    }
    List<T> elements = new ArrayList<>();
    for (JsonElement value : field.value().getAsJsonArray()) {
      elements.add(element.apply(new Field(field.name(), value)));
    }
    return Optional.of(elements);
  }

  /**
   * An object inside the content, as a configuration of its own.
   *
   * @throws InvalidInputException if it is absent or no object
   */
  public CheckpointConfig section(String name) {
    Field field = find(name);
    if (field == null) {
      throw absent(name);
    }
    if (!field.value().isJsonObject()) {
      throw wrong(field, "an object");
    }
    return new CheckpointConfig(file, field.value().getAsJsonObject());
  }

  /**
   * Whether there is an object of this name, and it is not empty.
   *
   * @throws InvalidInputException if it is no object
   */
  public boolean hasMembers(String name) {
    Field field = find(name);
    if (field != null && !field.value().isJsonObject()) {
      throw wrong(field, "an object");
    }
    return field != null && !field.value().getAsJsonObject().isEmpty();
  }

  /**
   * The same with values for fields that are absent. A field that is null stays so, but where the
   * default is an object.
   *
   * @param synonyms groups of fields of which any one says what all of them say
   */
  public CheckpointConfig withDefaults(JsonObject defaults, List<List<String>> synonyms) {
    Set<String> said = new HashSet<>();
    synonyms.stream().filter(group -> group.stream().anyMatch(json::has)).forEach(said::addAll);
    JsonObject completed = json.deepCopy();
    defaults
        .entrySet()
        .forEach(
            field -> {
              String name = field.getKey();
              boolean absent =
                  !json.has(name)
                      || (json.get(name).isJsonNull() && field.getValue().isJsonObject());
              if (absent && !said.contains(name)) {
                completed.add(name, field.getValue());
              }
            });
    return new CheckpointConfig(file, completed);
  }

  private int toInt(Field field) {
    if (isPrimitive(field) && field.value().getAsJsonPrimitive().isNumber()) {
      try {
        return Integer.parseInt(field.value().getAsString());
      } catch (NumberFormatException e) {
        throw wrong(field, "a whole number of 32 bits");
      }
    }
    throw wrong(field, "a whole number");
  }

  private @Nullable Field find(String... names) {
    for (String name : names) {
      JsonElement value = json;
      String path = "";
      for (String step : PATH.split(name)) {
        if (!value.isJsonObject()) {
          throw wrong(new Field(path, value), "an object with the field '" + step + "'");
        }
        path = path.isEmpty() ? step : path + "." + step;
        value = value.getAsJsonObject().get(step);
        if (value == null || value.isJsonNull()) {
          value = null;
          break;
        }
      }
      if (value != null) {
        return new Field(name, value);
      }
    }
    return null;
  }

  private static boolean isPrimitive(Field field) {
    return field.value().isJsonPrimitive();
  }

  private InvalidInputException absent(String... names) {
    return new InvalidInputException(
        file
            + " lacks the field "
            + Arrays.stream(names).map(name -> "'" + name + "'").collect(Collectors.joining(" or "))
            + "; add it, or download the file again");
  }

  private InvalidInputException wrong(Field field, String expected) {
    return new InvalidInputException(
        file
            + ": the field '"
            + field.name()
            + "' is "
            + Json.excerpt(field.value())
            + ", expected "
            + expected
            + "; correct it, or download the file again");
  }

  private record Field(String name, JsonElement value) {}
}
