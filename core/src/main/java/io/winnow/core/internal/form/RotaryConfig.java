package io.winnow.core.internal.form;

/**
 * The rotation by positions. Not part of the API.
 *
 * @param inverseFrequencies angles per position, one for two elements
 * @param factor of sines and cosines
 * @param interleaved whether neighbours are rotated together
 */
public record RotaryConfig(float[] inverseFrequencies, double factor, boolean interleaved) {}
