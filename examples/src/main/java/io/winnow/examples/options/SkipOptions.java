package io.winnow.examples.options;

import ai.djl.Model;
import io.winnow.core.MoeModel;
import io.winnow.skipping.SkipCounter;
import io.winnow.skipping.SkipPolicy;
import io.winnow.skipping.SkipStatistics;
import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Option;

/** The option of every command that can skip experts. */
public final class SkipOptions {
  @Option(
      names = "--skip",
      paramLabel = "FILE.json",
      description = "skip experts by a policy that 'winnow calibrate-skip' wrote")
  private @Nullable Path skip;

  /** Returns whether experts are to be skipped. */
  public boolean isGiven() {
    return skip != null;
  }

  /** Reads the policy, if there is one, before any work is done for it. */
  public SkipPolicy policy() {
    return skip == null ? SkipPolicy.none() : SkipPolicy.read(skip);
  }

  /** Installs the policy, if there is one, in a model; returns what counts. */
  public @Nullable SkipCounter install(Model model, SkipPolicy policy) {
    if (skip == null) {
      return null;
    }
    MoeModel moe = MoeModel.of(model);
    policy.checkFits(moe);
    SkipCounter counter = new SkipCounter();
    moe.routerHooks().set(policy.asHook(counter));
    return counter;
  }

  /** Returns the rates in words, a line. */
  public static String describe(SkipStatistics statistics) {
    StringBuilder text =
        new StringBuilder(
            String.format(Locale.ROOT, "skipped %.1f %% (by layer:", 100 * statistics.rate()));
    statistics
        .layers()
        .forEach(layer -> text.append(String.format(Locale.ROOT, " %.1f", 100 * layer.rate())));
    return text.append(')').toString();
  }
}
