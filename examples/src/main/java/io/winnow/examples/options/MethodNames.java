package io.winnow.examples.options;

import io.winnow.core.InvalidInputException;
import io.winnow.pruning.PruningMethod;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** Pruning methods by their names. */
public final class MethodNames {
  private MethodNames() {}

  /**
   * Returns the method of a name that an option gives.
   *
   * @param others what else the option takes
   */
  public static PruningMethod methodOf(String option, String name, String... others) {
    return PruningMethod.all().stream()
        .filter(method -> method.name().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new InvalidInputException(
                    option
                        + " is '"
                        + name
                        + "'; choose one of "
                        + Stream.concat(
                                PruningMethod.all().stream().map(PruningMethod::name),
                                Stream.of(others))
                            .collect(Collectors.joining(", "))));
  }
}
